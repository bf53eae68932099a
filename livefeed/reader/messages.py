"""What pages say, per language. Pure.

`{name}` in a text is filled in; a dict is a plural, its keys are the CLDR plural categories of the language. The
browser gets the same catalogue (`for_browser`), so that the server's and the browser's rendering say the same.
"""

from __future__ import annotations

from functools import cache

from babel import Locale

from livefeed.settings import LANGUAGES

EDITIONS = {"fr": "/", "ar": "/ar/", "en": "/en/"}
"""Path of each language's ticker."""

NAMES = {"fr": "Français", "ar": "العربية", "en": "English"}
"""Each language by its own name."""

Message = str | dict[str, str]

_FR: dict[str, Message] = {
    "title": "En continu",
    "subtitle": "Les dernières informations en temps réel",
    "skip": "Aller aux infos",
    "all": "Tout",
    "rubrics": "Rubriques",
    "editions": "Éditions",
    "filtered": "Infos filtrées : {what}",
    "unfilter": "Tout afficher",
    "older": "Infos plus anciennes",
    "pages": "Autres pages",
    "newest": "Revenir au direct",
    "empty": "Aucune info pour le moment.",
    "today": "Aujourd’hui",
    "reload": "Sans JavaScript, cette page ne se met pas à jour toute seule. Actualiser",
    "moment": "{date} à {clock}",
    "date": "{dd}.{mm}.{yyyy}",
    "clock": "{HH} H {MM}",
    "day": "{weekday} {d} {month} {yyyy}",
    "first": "1er",
    "updated": "Mis à jour le {when}",
    "reading_time": {
        "one": "Temps de lecture : {n} minute",
        "many": "Temps de lecture : {n} minutes",
        "other": "Temps de lecture : {n} minutes",
    },
    "by": "Par {names}",
    "source": "Source : {name}",
    "comma": ", ",
    "and": " et ",
    "credit": "Crédit : {name}",
    "correction": "Correction",
    "corrected": "le {when} :",
    "urgent": "Urgent",
    "important": "Important",
    "pinned": "Épinglé",
    "unverified": "À confirmer",
    "confirmed": "Confirmé",
    "denied": "Démenti",
    "subscribers": "Réservé aux abonnés",
    "thread": "Tout le fil",
    "withdrawn": "Info retirée par la rédaction",
    "connecting": "Connexion au direct…",
    "live": "En direct · à jour à {time}",
    "reconnecting": "Reconnexion…",
    "stale": "Direct interrompu · à jour à {time}",
    "not_live": "Direct interrompu : les toutes dernières infos peuvent manquer.",
    "new_items": {"one": "{n} nouvelle info", "many": "{n} nouvelles infos", "other": "{n} nouvelles infos"},
    "error_400": "Cette adresse n’est pas correcte.",
    "error_404": "Cette page n’existe pas.",
    "error_410": "Info retirée par la rédaction",
    "error_5xx": "Quelque chose s’est mal passé de notre côté.",
    "error_other": "Cette demande n’a pas pu aboutir.",
    "error_field": "Paramètre en cause : {field}",
}

_AR: dict[str, Message] = {
    "title": "على مدار الساعة",
    "subtitle": "آخر الأخبار لحظة بلحظة",
    "skip": "انتقل إلى الأخبار",
    "all": "الكل",
    "rubrics": "الأقسام",
    "editions": "اللغات",
    "filtered": "أخبار مصفّاة: {what}",
    "unfilter": "عرض الكل",
    "older": "أخبار أقدم",
    "pages": "صفحات أخرى",
    "newest": "العودة إلى البث المباشر",
    "empty": "لا أخبار في الوقت الحالي.",
    "today": "اليوم",
    "reload": "بدون جافاسكريبت لا تتحدّث هذه الصفحة تلقائيًا. حدّث الصفحة",
    "moment": "{date} على الساعة {clock}",
    "date": "{d} {month} {yyyy}",
    "clock": "{HH}:{MM}",
    "day": "{weekday} {d} {month} {yyyy}",
    "first": "1",
    "updated": "آخر تحديث: {when}",
    "reading_time": {
        "zero": "مدة القراءة: أقل من دقيقة",
        "one": "مدة القراءة: دقيقة واحدة",
        "two": "مدة القراءة: دقيقتان",
        "few": "مدة القراءة: {n} دقائق",
        "many": "مدة القراءة: {n} دقيقة",
        "other": "مدة القراءة: {n} دقيقة",
    },
    "by": "بقلم {names}",
    "source": "المصدر: {name}",
    "comma": "، ",
    "and": " و",
    "credit": "الصورة: {name}",
    "correction": "تصحيح",
    "corrected": "{when}:",
    "urgent": "عاجل",
    "important": "مهم",
    "pinned": "مثبّت",
    "unverified": "غير مؤكد",
    "confirmed": "مؤكد",
    "denied": "تم نفيه",
    "subscribers": "للمشتركين",
    "thread": "كل أخبار الملف",
    "withdrawn": "خبر سحبته هيئة التحرير",
    "connecting": "جارٍ الاتصال بالبث المباشر…",
    "live": "مباشر · محدّث على الساعة {time}",
    "reconnecting": "إعادة الاتصال…",
    "stale": "انقطع البث المباشر · آخر تحديث {time}",
    "not_live": "انقطع البث المباشر: قد تنقص آخر الأخبار.",
    "new_items": {
        "zero": "لا أخبار جديدة",
        "one": "خبر جديد واحد",
        "two": "خبران جديدان",
        "few": "{n} أخبار جديدة",
        "many": "{n} خبرًا جديدًا",
        "other": "{n} خبر جديد",
    },
    "error_400": "هذا العنوان غير صحيح.",
    "error_404": "هذه الصفحة غير موجودة.",
    "error_410": "خبر سحبته هيئة التحرير",
    "error_5xx": "حدث خطأ من جانبنا.",
    "error_other": "تعذّر تنفيذ هذا الطلب.",
    "error_field": "المعامل المعني: {field}",
}

_EN: dict[str, Message] = {
    "title": "Live",
    "subtitle": "The latest news as it happens",
    "skip": "Skip to the news",
    "all": "All",
    "rubrics": "Sections",
    "editions": "Editions",
    "filtered": "Filtered news: {what}",
    "unfilter": "Show all",
    "older": "Older news",
    "pages": "Other pages",
    "newest": "Back to live",
    "empty": "No news at the moment.",
    "today": "Today",
    "reload": "Without JavaScript this page does not update by itself. Refresh",
    "moment": "{date} at {clock}",
    "date": "{d} {month} {yyyy}",
    "clock": "{HH}:{MM}",
    "day": "{weekday} {d} {month} {yyyy}",
    "first": "1",
    "updated": "Updated {when}",
    "reading_time": {"one": "Reading time: {n} minute", "other": "Reading time: {n} minutes"},
    "by": "By {names}",
    "source": "Source: {name}",
    "comma": ", ",
    "and": " and ",
    "credit": "Credit: {name}",
    "correction": "Correction",
    "corrected": "{when}:",
    "urgent": "Breaking",
    "important": "Important",
    "pinned": "Pinned",
    "unverified": "Unverified",
    "confirmed": "Confirmed",
    "denied": "Denied",
    "subscribers": "Subscribers only",
    "thread": "The whole story",
    "withdrawn": "Item withdrawn by the newsroom",
    "connecting": "Connecting…",
    "live": "Live · up to date at {time}",
    "reconnecting": "Reconnecting…",
    "stale": "Live updates interrupted · up to date at {time}",
    "not_live": "Live updates are interrupted: the very latest news may be missing.",
    "new_items": {"one": "{n} new item", "other": "{n} new items"},
    "error_400": "This address is not correct.",
    "error_404": "This page does not exist.",
    "error_410": "Item withdrawn by the newsroom",
    "error_5xx": "Something went wrong on our side.",
    "error_other": "This request could not be completed.",
    "error_field": "Parameter: {field}",
}

CATALOGUES: dict[str, dict[str, Message]] = {"fr": _FR, "ar": _AR, "en": _EN}

_BROWSER = (
    "today",
    "moment",
    "date",
    "clock",
    "day",
    "first",
    "updated",
    "reading_time",
    "by",
    "source",
    "comma",
    "and",
    "credit",
    "correction",
    "corrected",
    "urgent",
    "important",
    "pinned",
    "unverified",
    "confirmed",
    "denied",
    "subscribers",
    "thread",
    "connecting",
    "live",
    "reconnecting",
    "stale",
    "new_items",
)
"""What the browser's side renders by itself."""


class Messages:
    """The catalogue of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalogue = CATALOGUES[language]
        self._plural = Locale.parse(language).plural_form

    def __getitem__(self, name: str) -> str:
        message = self._catalogue[name]
        if isinstance(message, dict):
            raise KeyError(f"{name} is a plural; use count()")
        return message

    def count(self, name: str, n: int) -> str:
        """The plural message for `n`, with `{n}` filled in."""
        forms = self._catalogue[name]
        assert isinstance(forms, dict)  # noqa: S101  (a slip in a template, found by its test)
        return forms.get(self._plural(n), forms["other"]).replace("{n}", str(n))

    def names(self, names: tuple[str, ...]) -> str:
        """Names as an enumeration: « A, B et C »."""
        if len(names) < 2:
            return "".join(names)
        return self["comma"].join(names[:-1]) + self["and"] + names[-1]

    def around(self, name: str, placeholder: str) -> tuple[str, str]:
        """What stands before and after a placeholder, for an element in its place."""
        before, _, after = self[name].partition("{" + placeholder + "}")
        return before, after

    def for_browser(self) -> dict[str, Message]:
        """The part of the catalogue that the browser needs."""
        return {name: self._catalogue[name] for name in _BROWSER}


@cache
def messages(language: str) -> Messages:
    """The catalogue of a language of the site."""
    return Messages(language)


assert set(EDITIONS) == set(NAMES) == set(CATALOGUES) == set(LANGUAGES)  # noqa: S101  (a new language needs all three)
